"""What can be typed behind `parley`: a file for each command, named like it. `main` lists them."""
