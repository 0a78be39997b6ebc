"""The admin API: `rights` says who may what, `parameters` what endpoints take, and `routes` what it consists of."""
