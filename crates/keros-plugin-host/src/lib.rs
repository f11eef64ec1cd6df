//! Loads keros callback plugins from dynamic libraries: a loaded plugin is one more callback.
