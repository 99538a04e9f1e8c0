"""Networks and losses against each other, in the layout of Belikova et al. 2021."""
