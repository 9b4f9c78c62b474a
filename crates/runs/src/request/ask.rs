//! Prompts that an experiment asks in place of its users.

use serde_json::{Map, Value};

use super::{InvalidRequest, RequestFields};

impl RequestFields {
    /// The fields of an arm's ask: those that set a prompt, and no others.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a field that sets no prompt, or a value out of its limits.
    pub fn of_ask(ask: &Map<String, Value>) -> Result<Self, InvalidRequest> {
        let text = serde_json::to_vec(ask).map_err(|e| InvalidRequest::new(e.to_string()))?;
        let mut fields = Self::parse(&text)?;
        if fields.take_all_but_prompt() != Self::default() {
            let message = "only fields that set a prompt belong to an arm, such as mu, quantile \
                           or target_return";
            return Err(InvalidRequest::new(message));
        }
        fields.prompt(prl_core::PromptSpec::from(
            prl_core::TargetReturn::Absolute(0.0),
        ))?;
        Ok(fields)
    }

    /// Gives a request without a prompt the prompt of `ask`. Returns false, and changes nothing, if
    /// the request sets one.
    pub fn ask_if_open(&mut self, ask: &Self) -> bool {
        let others = self.take_all_but_prompt();
        let is_open = *self == Self::default();
        let prompt = if is_open {
            ask.clone()
        } else {
            std::mem::take(self)
        };
        *self = others.with_prompt_of(prompt);
        is_open
    }

    /// Moves out every field that sets no prompt.
    fn take_all_but_prompt(&mut self) -> Self {
        Self {
            session: self.session.take(),
            items: self.items.take(),
            purchased: self.purchased.take(),
            kinds: self.kinds.take(),
            k: self.k.take(),
            forecast: self.forecast.take(),
            case: self.case.take(),
            exclude_seen: self.exclude_seen.take(),
            exclude: self.exclude.take(),
            allow: self.allow.take(),
            conditions: self.conditions.take(),
            properties: self.properties.take(),
            ..Self::default()
        }
    }

    fn with_prompt_of(self, prompt: Self) -> Self {
        Self {
            session: self.session,
            items: self.items,
            purchased: self.purchased,
            kinds: self.kinds,
            k: self.k,
            forecast: self.forecast,
            case: self.case,
            exclude_seen: self.exclude_seen,
            exclude: self.exclude,
            allow: self.allow,
            conditions: self.conditions,
            properties: self.properties,
            ..prompt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> RequestFields {
        RequestFields::parse(text.as_bytes()).unwrap()
    }

    fn of_ask(text: &str) -> Result<RequestFields, String> {
        let map = serde_json::from_str(text).unwrap();
        RequestFields::of_ask(&map).map_err(|error| error.to_string())
    }

    #[test]
    fn request_without_prompt_takes_that_of_the_ask() {
        let ask = of_ask(r#"{"mu": 4, "eps": 0.5}"#).unwrap();
        let all = r#""session":"s","items":["1"],"purchased":["1"],"kinds":["click"],"k":3,
                     "forecast":true,"case":2,"exclude_seen":true,"exclude":["2"],"allow":["3"],
                     "where":{"brand":"x"},"properties":["brand"]"#;
        let mut open = fields(&format!("{{{all}}}"));
        assert!(open.ask_if_open(&ask));
        assert_eq!(open, fields(&format!("{{{all},\"mu\":4,\"eps\":0.5}}")));
        for own in [
            "\"mu\":1",
            "\"quantile\":0.5",
            "\"sequence_wise\":false",
            "\"tilt\":0",
            "\"state_quantile\":0.5",
        ] {
            let own = fields(&format!("{{{all},{own}}}"));
            let mut kept = own.clone();
            assert!(!kept.ask_if_open(&ask));
            assert_eq!(kept, own);
        }
    }

    #[test]
    fn ask_of_other_fields_or_values_is_refused() {
        for (text, expected) in [
            (r#"{"forecast": true}"#, "only fields that set a prompt"),
            (r#"{"k": 3}"#, "only fields that set a prompt"),
            (
                r#"{"mu": 1, "session": "s"}"#,
                "only fields that set a prompt",
            ),
            (r#"{"mu": 1e9}"#, "mu"),
            (r#"{"mu": "high"}"#, "mu"),
            (
                r#"{"mu": 1, "quantile": 0.5}"#,
                "more than one kind of prompt",
            ),
            (r#"{"beta": 1}"#, "beta"),
        ] {
            let found = of_ask(text).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
        assert_eq!(of_ask("{}"), Ok(RequestFields::default()));
    }
}
