//! Modules of candle-nn as session encoders.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, RNN, VarBuilder};
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{flat, values};

/// candle's GRU and a linear layer of candle.
struct CandleGru {
    gru: candle_nn::GRU,
    out: candle_nn::Linear,
    width: usize,
}

impl CandleGru {
    fn new(dim: usize, width: usize, vb: VarBuilder) -> Result<Self> {
        let config = candle_nn::GRUConfig::default();
        Ok(Self {
            gru: candle_nn::gru(dim, width, config, vb.pp("gru"))?,
            out: candle_nn::linear(width, width, vb.pp("out"))?,
            width,
        })
    }
}

impl SessionEncoder for CandleGru {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, batch: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        let states = self.gru.seq(batch.xs)?;
        let states: Vec<Tensor> = states.iter().map(|state| state.h().clone()).collect();
        self.out.forward(&batch.last(&Tensor::stack(&states, 1)?)?)
    }
}

#[test]
fn candle_modules_make_a_seeded_trainable_encoder() {
    let xs = Var::from_tensor(&values(&[3, 5, 4], "xs")).unwrap();
    let batch = PaddedBatch {
        xs: xs.as_tensor(),
        lengths: &[5, 2, 1],
    };
    let run = |seed| {
        let vars = SeededVarMap::new(seed);
        let vb = vars.var_builder(DType::F64, &Device::Cpu);
        let encoder = CandleGru::new(4, 6, vb.pp("encoder")).unwrap();
        let states = encoder.encode(&batch, &ForwardCtx::infer()).unwrap();
        assert_eq!(states.dims(), [3, encoder.width()]);
        let grads = states.sum_all().unwrap().backward().unwrap();
        assert_eq!(vars.params().len(), 6);
        for param in vars.params() {
            assert!(grads.get(param.var()).is_some(), "{}", param.format1_name());
        }
        flat(&states)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
