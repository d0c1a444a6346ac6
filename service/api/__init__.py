"""REST: one router per resource. Routers parse and answer; what is decided is decided elsewhere."""
