//! Integration tests of the baselines.

mod session_knn;
