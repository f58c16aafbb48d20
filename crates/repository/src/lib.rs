//! The rules of this repository that a compiler does not check: what documents name exists, each dependency has a
//! reason, each decoder has a fuzz target. The tests hold them; there is no code to use.
