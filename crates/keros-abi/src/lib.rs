//! The C ABI of keros callback plugins: keros.h and its repr(C) mirror.
