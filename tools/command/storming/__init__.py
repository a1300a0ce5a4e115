"""What `dormouse storm` is made of: how nodes wait, a model of a broker, a run on a real one."""
