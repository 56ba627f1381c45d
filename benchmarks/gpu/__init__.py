"""What kshot does on a GPU, beside what the GPU itself allows: `make bench-gpu`."""
