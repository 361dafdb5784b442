use std::collections::BTreeSet;

use trefoil_contract::{Error, Result};

/// Longest chain of definitions that refer to one another; the library follows it with calls that
/// an engine's stack has to hold.
pub(super) const DEPTH_MAX: usize = 100;

/// Walks the definitions that `first` needs, each once, as deep as references lead.
///
/// # Errors
/// [`Error::InvalidArgument`] where that is too deep.
pub(super) fn check_depth<'t>(
    first: &'t str,
    references: impl Fn(&str) -> &'t [&'t str],
) -> Result<()> {
    let mut seen = BTreeSet::from([first]);
    let mut path = vec![(first, references(first).iter())];
    while let Some((_, rest)) = path.last_mut() {
        match rest.next() {
            Some(&name) if seen.insert(name) => path.push((name, references(name).iter())),
            Some(_) => {}
            None => drop(path.pop()),
        }
        if let (true, Some((name, _))) = (path.len() > DEPTH_MAX, path.last()) {
            return Err(Error::InvalidArgument(format!(
                "the grammar is too deep at `{name}`: more than {DEPTH_MAX} definitions that refer \
                 to one another in a chain"
            )));
        }
    }
    Ok(())
}
