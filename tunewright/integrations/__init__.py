"""Ways from and to other tools; each imports what it needs when it is used."""
