"""What `parley new` writes: `new_service` plans the files, `compose_file` and `namespaces_file` add to files."""
