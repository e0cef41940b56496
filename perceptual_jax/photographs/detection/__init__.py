"""Finding the faces of a photograph: networks, landmarks, and what is left alone."""
