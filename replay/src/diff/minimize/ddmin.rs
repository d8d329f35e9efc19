//! Delta debugging: the smallest part of a list that still passes a test.
//!
//! Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): halves, then
//! quarters, and so on, of which first the parts and then what is left without them is tried.

/// A part of `items` in their order of which no single item can be taken away, if the test is told the
/// truth; `items` must pass it.
pub(super) fn ddmin<T: Clone, E>(
    items: &[T],
    mut test: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    if items.is_empty() || test(&[])? {
        return Ok(Vec::new());
    }
    let mut current = items.to_vec();
    let mut parts = 2;
    while current.len() >= 2 {
        let size = current.len().div_ceil(parts);
        let next = match part(&current, size, &mut test)? {
            Some(smaller) => Some((smaller, 2)),
            None if parts > 2 => rest(&current, size, &mut test)?
                .map(|smaller| (smaller, parts.saturating_sub(1).max(2))),
            None => None,
        };
        (current, parts) = match next {
            Some((smaller, parts)) => (smaller, parts),
            None if size <= 1 => break,
            None => {
                let more = parts.saturating_mul(2).min(current.len());
                (current, more)
            }
        };
    }
    Ok(current)
}

/// The first part that passes by itself.
fn part<T: Clone, E>(
    items: &[T],
    size: usize,
    test: &mut impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Option<Vec<T>>, E> {
    for part in items.chunks(size.max(1)) {
        if test(part)? {
            return Ok(Some(part.to_vec()));
        }
    }
    Ok(None)
}

/// What passes without its first part that is not needed.
fn rest<T: Clone, E>(
    items: &[T],
    size: usize,
    test: &mut impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Option<Vec<T>>, E> {
    let size = size.max(1);
    for start in (0..items.len()).step_by(size) {
        let (before, after) = items.split_at(start);
        let left = [before, after.get(size..).unwrap_or_default()].concat();
        if test(&left)? {
            return Ok(Some(left));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn least(count: u32, needed: &[u32]) -> (Vec<u32>, usize) {
        let items: Vec<u32> = (0..count).collect();
        let mut tests = 0;
        let found = ddmin(&items, |part| {
            tests += 1;
            Ok::<_, Infallible>(needed.iter().all(|one| part.contains(one)))
        });
        (found.unwrap(), tests)
    }

    #[test]
    fn what_is_needed_remains_and_nothing_else() {
        for needed in [&[][..], &[0], &[99], &[0, 99], &[3, 50, 51, 97], &[7, 8, 9]] {
            for count in [100, 101, 128] {
                let (found, tests) = least(count, needed);
                assert_eq!(found, needed, "of {count}");
                assert!(tests < 250, "{tests} tests for {needed:?} of {count}");
            }
        }
        assert_eq!(least(1, &[0]).0, [0]);
        assert!(least(0, &[]).0.is_empty());
    }

    #[test]
    fn no_single_item_of_what_remains_can_go() {
        // Passes with any three of the even ones.
        let items: Vec<u32> = (0..40).collect();
        let even = |part: &[u32]| part.iter().filter(|one| *one % 2 == 0).count() >= 3;
        let found = ddmin(&items, |part| Ok::<_, Infallible>(even(part))).unwrap();
        assert_eq!(found.len(), 3);
    }
}
