//! Integration tests of the fuzz targets.

mod attacks;
