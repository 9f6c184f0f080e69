"""What is said where a generator is asked for predictions."""

NO_PREDICTION = "a generator predicts nothing from images: use `skipway generate`"
