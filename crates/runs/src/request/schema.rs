//! Parts of the OpenAPI schema that no derive gives.

use std::borrow::Cow;

use prl_dataset::Kind;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Array, Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{Id, MAX_ID_BYTES, MAX_ITEMS};

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(MAX_ID_BYTES));
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0));
        OneOfBuilder::new()
            .item(text)
            .item(number)
            .description(Some(
                "Raw item id, at most 256 bytes; an integer is read as its decimal digits.",
            ))
            .into()
    }
}

impl ToSchema for Id {
    fn name() -> Cow<'static, str> {
        "ItemId".into()
    }
}

/// Schema of an event's type.
pub fn event_kinds() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([Kind::Click.name(), Kind::Purchase.name()]))
        .default(Some(Kind::Click.name().into()))
        .description(Some("Type of the event."))
        .build()
}

/// Schema of a filter by properties.
pub(super) fn conditions() -> Object {
    let number = || ObjectBuilder::new().schema_type(Type::Number);
    let scalar = || {
        let types = [Type::String, Type::Number, Type::Boolean];
        ObjectBuilder::new().schema_type(SchemaType::from_iter(types))
    };
    let range = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("min", number())
        .property("max", number())
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let condition = OneOfBuilder::new()
        .item(scalar())
        .item(ArrayBuilder::new().items(scalar()).max_items(Some(1_000)))
        .item(range);
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(Schema::OneOf(condition.build())))
        .description(Some(
            "Allows the items with these properties only: conditions by column, all of which must \
             hold. A condition is a value, a list of alternatives, or a range of numbers. An item \
             without a value meets no condition on it.",
        ))
        .build()
}

/// Schema of the list of the events' types.
pub(super) fn kinds() -> Array {
    ArrayBuilder::new()
        .items(event_kinds())
        .max_items(Some(MAX_ITEMS))
        .description(Some(
            "Type of each event of the session, in the order of items; instead of purchased.",
        ))
        .build()
}
