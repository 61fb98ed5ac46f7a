"""A local page to play with the model: settings as sliders, mean-field curves that redraw."""
