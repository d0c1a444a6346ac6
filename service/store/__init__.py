"""The store: tables, what the API reads and writes (`repository`), what runners write (`journal`), and leases."""
