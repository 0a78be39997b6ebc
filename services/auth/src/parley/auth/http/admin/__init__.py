"""The admin API, a module for each thing that is administrated."""
