"""rdtrain: train the models of rdcodecs, say how well they do, and write the cards that go with their weights."""
