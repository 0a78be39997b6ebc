"""What `parley new` writes. Read `new_service`, which plans all files; the others add to files that exist.

`compose_file` adds a service to a compose file, `namespaces_file` a namespace to a namespaces file.
"""
