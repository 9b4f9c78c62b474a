//! Functions generic over the element type, called with the type of a tensor.

/// Calls a function generic over the element type with the type of a tensor.
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("models are f32 or f64, not {other:?}"),
        }
    };
}
pub(crate) use by_dtype;
