"""Types and helpers shared by all other packages; it imports none of them."""
