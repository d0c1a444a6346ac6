"""Second-order random walks on graphs larger than memory (GraSorw, VLDB 2022), and what is made of them."""
