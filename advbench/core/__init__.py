"""The ground floor: what all other packages speak of, and which imports none of them."""
