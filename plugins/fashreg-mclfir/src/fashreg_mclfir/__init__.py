"""fashreg learners and heads that learn attribute after attribute: mcl-fir and what it is compared with."""
