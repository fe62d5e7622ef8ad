"""What can be read out of a frozen network: its activations, and heads that are trained on them."""
