//! The messages of TensorBoard's protocol buffers that event files of scalars and settings need.
//! Field numbers are those of `event.proto`, `summary.proto`, `tensor.proto` and the hyperparameter
//! plugin's `plugin_data.proto`.

use std::collections::HashMap;

use prost::{Message, Oneof};

use crate::numbers::now;

/// Plugin of hyperparameters.
const HPARAMS: &str = "hparams";
/// Type of a tensor of 32-bit floats.
const DATA_TYPE_FLOAT: i32 = 1;

/// A record of an event file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Training step.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// Content.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// Content of an event.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum What {
    /// Version of the file's format.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// Start of a process.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

impl Event {
    /// An event of now.
    pub fn at(step: i64, what: What) -> Self {
        Self {
            wall_time: now(),
            step,
            what: Some(what),
        }
    }
}

/// State of the process that writes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl SessionLog {
    /// The start of a process: values of this and later steps are written again.
    pub fn start() -> Self {
        Self { status: 1 }
    }
}

/// Values of a step.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    /// Values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<SummaryValue>,
}

/// A value with its name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SummaryValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

impl SummaryValue {
    /// A scalar. It is rounded to 32 bits: TensorBoard's server shows no others.
    pub fn scalar(tag: &str, number: f64) -> Self {
        Self {
            tag: tag.to_owned(),
            simple_value: Some(number as f32),
            tensor: None,
            metadata: None,
        }
    }

    /// Data of the hyperparameter plugin, beside a tensor that is not read.
    pub fn hparams(tag: &str, content: &HParams) -> Self {
        Self {
            tag: tag.to_owned(),
            simple_value: None,
            tensor: Some(TensorProto {
                dtype: DATA_TYPE_FLOAT,
                shape: Some(TensorShape {}),
                float_val: vec![0.0],
            }),
            metadata: Some(Metadata {
                plugin_data: Some(PluginData {
                    plugin_name: HPARAMS.to_owned(),
                    content: content.encode_to_vec(),
                }),
            }),
        }
    }

    /// The number of a scalar.
    #[cfg(test)]
    pub fn as_scalar(&self) -> Option<f32> {
        self.simple_value
    }
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// A tensor of rank 0.
#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShape>,
    #[prost(float, repeated, tag = "5")]
    float_val: Vec<f32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TensorShape {}

/// Data of the hyperparameter plugin.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HParams {
    /// Version of the data.
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Start or end of a training.
    #[prost(oneof = "HParamsData", tags = "3, 4")]
    pub data: Option<HParamsData>,
}

/// Start or end of a training.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum HParamsData {
    /// Start, with the settings.
    #[prost(message, tag = "3")]
    Start(SessionStart),
    /// End.
    #[prost(message, tag = "4")]
    End(SessionEnd),
}

/// Start of a training.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionStart {
    /// Settings.
    #[prost(map = "string, message", tag = "1")]
    pub hparams: HashMap<String, ProtoValue>,
    /// Where the model is.
    #[prost(string, tag = "2")]
    pub model_uri: String,
    /// Runs of a group are repetitions with the same settings.
    #[prost(string, tag = "4")]
    pub group_name: String,
    /// Seconds since 1970.
    #[prost(double, tag = "5")]
    pub start_time_secs: f64,
}

/// End of a training.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionEnd {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(double, tag = "2")]
    end_time_secs: f64,
}

impl SessionEnd {
    /// The end at a time in seconds since 1970.
    pub fn new(is_success: bool, end_time_secs: f64) -> Self {
        Self {
            status: if is_success { 1 } else { 2 },
            end_time_secs,
        }
    }
}

/// `google.protobuf.Value` of a setting.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProtoValue {
    /// The value.
    #[prost(oneof = "ProtoValueKind", tags = "2, 3, 4")]
    pub kind: Option<ProtoValueKind>,
}

/// Kinds of values.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ProtoValueKind {
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// A truth value.
    #[prost(bool, tag = "4")]
    Bool(bool),
}
