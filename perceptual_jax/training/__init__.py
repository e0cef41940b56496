"""Training of the likelihood: pictures, pairs, the step, evaluations, and the job around them."""
