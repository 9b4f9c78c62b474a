//! The messages of TensorBoard's protocol buffers that event files of scalars and settings need.
//! Field numbers are those of `event.proto`, `summary.proto`, `tensor.proto` and the hyperparameter
//! plugin's `plugin_data.proto`.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};

use crate::numbers::now;

/// Plugin of scalars, and class of their data.
const SCALARS: &str = "scalars";
const DATA_CLASS_SCALAR: i32 = 1;
/// Plugin of hyperparameters.
const HPARAMS: &str = "hparams";

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
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

impl SummaryValue {
    /// A scalar of 64 bits.
    pub fn scalar(tag: &str, number: f64) -> Self {
        Self {
            tag: tag.to_owned(),
            tensor: Some(TensorProto {
                dtype: DataType::Double.into(),
                shape: Some(TensorShape {}),
                float_val: Vec::new(),
                double_val: vec![number],
            }),
            metadata: Some(Metadata {
                plugin_data: Some(PluginData::new(SCALARS, Vec::new())),
                data_class: DATA_CLASS_SCALAR,
            }),
        }
    }

    /// Data of the hyperparameter plugin, beside a tensor that is not read.
    pub fn hparams(tag: &str, content: &HParams) -> Self {
        Self {
            tag: tag.to_owned(),
            tensor: Some(TensorProto {
                dtype: DataType::Float.into(),
                shape: Some(TensorShape {}),
                float_val: vec![0.0],
                double_val: Vec::new(),
            }),
            metadata: Some(Metadata {
                plugin_data: Some(PluginData::new(HPARAMS, content.encode_to_vec())),
                data_class: 0,
            }),
        }
    }

    /// The number of a scalar of 64 bits.
    #[cfg(test)]
    pub fn as_scalar(&self) -> Option<f64> {
        self.tensor.as_ref()?.double_val.first().copied()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

impl PluginData {
    fn new(plugin: &str, content: Vec<u8>) -> Self {
        Self {
            plugin_name: plugin.to_owned(),
            content,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
enum DataType {
    Invalid = 0,
    Float = 1,
    Double = 2,
}

/// A tensor of rank 0.
#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(enumeration = "DataType", tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShape>,
    #[prost(float, repeated, tag = "5")]
    float_val: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    double_val: Vec<f64>,
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
