use crate::Error;
use crate::error::shown;

/// Names that are looked up by binary search. Sorting, unlike hashing, has no bad inputs: in
/// WebAssembly without imports, hash tables have no random keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Numbers of the things that have the names, in the order of the names.
    order: Vec<u32>,
}

impl Names {
    /// Orders names, each with the place of its record in the file. `what` has them: `key`.
    ///
    /// # Errors
    /// [`Error::Duplicate`] where a name occurs twice.
    pub(crate) fn new(what: &'static str, names: &[(&str, u64)]) -> Result<Names, Error> {
        let mut order: Vec<u32> = (0..).take(names.len()).collect();
        let record = |number: u32| names.get(number as usize);
        // Records of one name come in the file's order.
        order.sort_unstable_by(|a, b| record(*a).cmp(&record(*b)));
        for pair in order.windows(2) {
            let &[first, second] = pair else { continue };
            if let (Some((name, first)), Some((other, second))) = (record(first), record(second))
                && name == other
            {
                let (first, second) = (*first, *second);
                return Err(Error::Duplicate { what, name: shown(name), first, second });
            }
        }
        Ok(Names { order })
    }

    /// Finds the number of a thing by its name, with the names in their original order.
    pub(crate) fn find<'a>(
        &self,
        name: &str,
        name_of: impl Fn(usize) -> Option<&'a str>,
    ) -> Option<usize> {
        let place =
            self.order.binary_search_by(|number| name_of(*number as usize).cmp(&Some(name)));
        self.order.get(place.ok()?).map(|number| *number as usize)
    }
}
