"""The REST service: takes labelled examples, adapts in that very request, classifies queries."""
