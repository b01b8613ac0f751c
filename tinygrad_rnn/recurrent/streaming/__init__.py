"""One step per call: steppers, and gradients forward in time (RTRL)."""
