//! Vector code that the CPU kernels share: element types, the matrix product and loops over slices.

pub mod bf16;
pub(crate) mod element;
pub mod gemm;
pub mod int8;
pub mod operand;
pub mod product;
pub(crate) mod slices;
