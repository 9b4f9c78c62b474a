//! Training methods and baselines.

use prl_core::{LossWeight, TokenMixer};
use serde::{Deserialize, Serialize};

/// Training method, or baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Cross-entropy on the encoder's state.
    Normal,
    /// SQN: cross-entropy plus double Q-learning (Xin et al., SIGIR '20).
    Sqn,
    /// SAC, self-supervised actor-critic: SQN with the cross-entropy multiplied by the Q-value.
    Sac,
    /// Prompt-based reinforcement learning.
    #[default]
    Prl,
    /// PRL with the attention replaced by a mean.
    PrlMean,
    /// PRL with the attention replaced by a linear layer per token.
    PrlMlp,
    /// PRL without weights in the loss.
    PrlWo,
    /// PRL weighted by the return.
    PrlCumu,
    /// PRL's dropout, layer norm and loss weights without a prompt (ablation control).
    PrlControl,
    /// Items by popularity.
    Popularity,
    /// Items by popularity of late.
    PopularityRecent,
    /// The session's own items, most recent first.
    LastItems,
    /// The session's own items, most recent first, then by the tuned session-kNN.
    LastItemsKnn,
    /// Next items of similar sessions: VMIS-kNN.
    SessionKnn,
    /// Next items of similar sessions, tuned for accuracy.
    SessionKnnTuned,
    /// A blend of finished runs.
    Blend,
}

impl Method {
    /// Every method of training, in the order of the tables; a blend is not trained.
    pub const ALL: [Method; 15] = [
        Method::Popularity,
        Method::PopularityRecent,
        Method::LastItems,
        Method::LastItemsKnn,
        Method::SessionKnn,
        Method::SessionKnnTuned,
        Method::Normal,
        Method::Sqn,
        Method::Sac,
        Method::Prl,
        Method::PrlMean,
        Method::PrlMlp,
        Method::PrlWo,
        Method::PrlCumu,
        Method::PrlControl,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Normal => "normal",
            Method::Sqn => "sqn",
            Method::Sac => "sac",
            Method::Prl => "prl",
            Method::PrlMean => "prl-mean",
            Method::PrlMlp => "prl-mlp",
            Method::PrlWo => "prl-wo",
            Method::PrlCumu => "prl-cumu",
            Method::PrlControl => "prl-control",
            Method::Popularity => "popularity",
            Method::PopularityRecent => "popularity-recent",
            Method::LastItems => "last-items",
            Method::LastItemsKnn => "last-items-knn",
            Method::SessionKnn => "session-knn",
            Method::SessionKnnTuned => "session-knn-tuned",
            Method::Blend => "blend",
        }
    }

    /// Whether a neural model is trained.
    pub fn is_neural(self) -> bool {
        !matches!(
            self,
            Method::Popularity
                | Method::PopularityRecent
                | Method::LastItems
                | Method::LastItemsKnn
                | Method::SessionKnn
                | Method::SessionKnnTuned
                | Method::Blend
        )
    }

    /// Whether two networks with Q layers are trained: SQN and SAC.
    pub fn is_double(self) -> bool {
        matches!(self, Method::Sqn | Method::Sac)
    }

    /// Token mixer of the prompt block, if the method has one.
    pub fn mixing(self) -> Option<TokenMixer> {
        match self {
            Method::Prl | Method::PrlWo | Method::PrlCumu => Some(TokenMixer::Attention),
            Method::PrlMean => Some(TokenMixer::Mean),
            Method::PrlMlp => Some(TokenMixer::Mlp),
            Method::PrlControl => Some(TokenMixer::NoPrompt),
            _ => None,
        }
    }

    /// Weighting of the loss.
    pub fn weighting(self) -> LossWeight {
        match self {
            Method::Prl | Method::PrlMean | Method::PrlMlp | Method::PrlControl => {
                LossWeight::Reward
            }
            Method::PrlCumu => LossWeight::Return,
            _ => LossWeight::Uniform,
        }
    }
}
