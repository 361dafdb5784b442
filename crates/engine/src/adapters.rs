//! Which adapters of a composition change a model, and how much.

use std::rc::Rc;

use trefoil_contract::{Error, FORMAT_GGUF, Part, Result, Role};
use trefoil_decoder::Adapter;
use trefoil_gguf::Gguf;

use crate::{Imports, PartSource};

/// The setting's value for all adapters that there are.
const ALL: &str = "*";

/// An adapter by its part, and its scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    pub(crate) part: u32,
    pub(crate) scale: f32,
}

/// Reads the setting `adapters`: `*`, or names with a comma between them, each of which may be
/// followed by `=` and a scale.
///
/// # Errors
/// `invalid-setting` with the names that there are.
pub(crate) fn chosen(parts: &[Part], setting: &str) -> Result<Vec<Choice>> {
    let adapters = || (0..).zip(parts).filter(|(_, part)| part.role == Role::Adapter);
    if setting == ALL {
        return Ok(adapters().map(|(part, _)| Choice { part, scale: 1.0 }).collect());
    }
    let refuse = || {
        let names: Vec<_> = adapters().map(|(_, part)| format!("`{}`", part.name)).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::InvalidSetting {
            key: "adapters".into(),
            value: setting.into(),
            expected: format!(
                "`{ALL}`, or names separated by commas, each with `=SCALE` if that is not 1; there \
                 are: {names}"
            ),
        }
    };
    let find = |name: &str| adapters().find(|(_, part)| part.name == name).map(|(part, _)| part);
    let one = |text: &str| {
        // A name may have an equals sign, too.
        if let Some(part) = find(text) {
            return Ok(Choice { part, scale: 1.0 });
        }
        let (name, scale) = text.rsplit_once('=').ok_or_else(refuse)?;
        let scale = scale.trim().parse().ok().filter(|scale: &f32| scale.is_finite());
        let part = find(name.trim()).ok_or_else(refuse)?;
        Ok(Choice { part, scale: scale.ok_or_else(refuse)? })
    };
    let texts = setting.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(one).collect()
}

/// Open adapters.
pub(crate) struct Adapters(Vec<(String, Gguf, PartSource, f32)>);

impl Adapters {
    /// Reads the headers.
    ///
    /// # Errors
    /// `invalid-model` or `unsupported` with the adapter's name; what the model component reports.
    pub(crate) fn open(
        imports: &Rc<dyn Imports>,
        parts: &[Part],
        choices: &[Choice],
    ) -> Result<Adapters> {
        let open = |choice: &Choice| {
            let part = parts
                .get(choice.part as usize)
                .ok_or_else(|| Error::NotFound(format!("there is no part {}", choice.part)))?;
            if part.format != FORMAT_GGUF {
                return Err(Error::unsupported(format!(
                    "the format `{}` of the adapter `{}`; supported: {FORMAT_GGUF}",
                    part.format, part.name
                )));
            }
            let source = PartSource::new(Rc::clone(imports), choice.part, part);
            let gguf = Gguf::read(&source).map_err(|error| {
                Error::InvalidModel(format!("the adapter `{}`: {error}", part.name))
            })?;
            Ok((part.name.clone(), gguf, source, choice.scale))
        };
        choices.iter().map(open).collect::<Result<_>>().map(Adapters)
    }

    /// Bytes that they take in an instance at most: as numbers of 32 bits.
    pub(crate) fn bytes_max(&self) -> u64 {
        let tensors = self.0.iter().flat_map(|(_, gguf, ..)| &gguf.tensors);
        let bytes = tensors.map(|tensor| tensor.elements().saturating_mul(4));
        bytes.fold(0, u64::saturating_add)
    }

    /// As the decoder takes them.
    pub(crate) fn list(&self) -> Vec<Adapter<'_>> {
        let files = self.0.iter();
        files
            .map(|(name, gguf, source, scale)| Adapter { name, gguf, source, scale: *scale })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        let part = |name: &str, role| Part {
            name: name.into(),
            role,
            format: FORMAT_GGUF.into(),
            size: 1,
            sha256: String::new(),
            license: String::new(),
        };
        vec![part("base", Role::Weights), part("law", Role::Adapter), part("a=b", Role::Adapter)]
    }

    #[test]
    fn adapters_are_chosen_by_name_and_scale() {
        let chosen = |setting| {
            let choices = chosen(&parts(), setting).expect("known names");
            choices.iter().map(|choice| (choice.part, choice.scale)).collect::<Vec<_>>()
        };
        assert_eq!(chosen("*"), [(1, 1.0), (2, 1.0)]);
        assert_eq!(chosen(""), []);
        assert_eq!(chosen("law"), [(1, 1.0)]);
        assert_eq!(chosen("a=b, law = -0.5"), [(2, 1.0), (1, -0.5)]);
        assert_eq!(chosen("a=b=2"), [(2, 2.0)]);
    }

    #[test]
    fn unknown_names_and_scales_that_are_no_numbers_are_refused_with_the_names() {
        for setting in ["base", "laws", "law=", "law=x", "law=inf", "law=NaN", "*,law"] {
            let error = chosen(&parts(), setting).expect_err(setting);
            let Error::InvalidSetting { value, expected, .. } = &error else { panic!("{error}") };
            assert_eq!(value, setting);
            assert!(
                expected.contains("`law`, `a=b`") && !expected.contains("`base`"),
                "{expected}"
            );
        }
    }
}
