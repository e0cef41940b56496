"""Input and output: images, inputs, atomic writing, on local file systems or in remote stores."""
