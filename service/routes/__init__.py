"""The routes, by what they are about; every module of this folder offers a `router`."""
