//! Parameters as a servlet has them: the query's first, then the form's, all values of a name in order.
//!
//! Parsing marks where names and values lie and decodes on demand, so a form of 10 MiB is not copied to find a
//! flag in it. Bytes that are no UTF-8 become U+FFFD, as in Tomcat; a `%` without two hexadecimal digits stays as
//! it is. Whatever charset a form claims, it is read as UTF-8.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;
use smallvec::SmallVec;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params {
    target: Option<PathAndQuery>,
    form: Bytes,
    items: SmallVec<[Item; 8]>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    in_form: bool,
    name: (u32, u32),
    value: (u32, u32),
}

/// Parameters beyond this number are left out, as in Tomcat (`maxParameterCount`).
pub const PARAMS_MAX: usize = 10_000;

impl Params {
    /// The parameters of a request target's query and of an urlencoded form (empty if there is none).
    pub fn new(target: Option<PathAndQuery>, form: Bytes) -> Self {
        let mut items = SmallVec::new();
        if let Some(query) = target.as_ref().and_then(PathAndQuery::query) {
            split(query.as_bytes(), false, &mut items);
        }
        split(&form, true, &mut items);
        Self { target, form, items }
    }

    /// Puts an urlencoded form in the place of the one that there is.
    pub(super) fn set_form(&mut self, form: Bytes) {
        self.items.retain(|item| !item.in_form);
        split(&form, true, &mut self.items);
        self.form = form;
    }

    /// The first value of this name.
    pub fn first<'a>(&'a self, name: &str) -> Option<Cow<'a, str>> {
        self.values(name).next()
    }

    /// All values of this name joined by `,`, as Spring binds a repeated parameter to a text.
    pub fn joined<'a>(&'a self, name: &str) -> Option<Cow<'a, str>> {
        let mut values = self.values(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first) };
        let mut all = first.into_owned();
        for value in std::iter::once(second).chain(values) {
            all.push(',');
            all.push_str(&value);
        }
        Some(all.into())
    }

    /// All values of this name, the query's first.
    pub fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = Cow<'a, str>> + use<'a, 'n> {
        self.items
            .iter()
            .filter(move |item| name_is(self.slice(item.in_form, item.name), name))
            .map(|item| decode(self.slice(item.in_form, item.value)))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.items
            .iter()
            .map(|item| (decode(self.slice(item.in_form, item.name)), decode(self.slice(item.in_form, item.value))))
    }

    fn slice(&self, in_form: bool, (start, end): (u32, u32)) -> &[u8] {
        let all = if in_form {
            &self.form[..]
        } else {
            self.target.as_ref().and_then(PathAndQuery::query).unwrap_or_default().as_bytes()
        };
        &all[start as usize..end as usize]
    }
}

fn split(bytes: &[u8], in_form: bool, items: &mut SmallVec<[Item; 8]>) {
    let mut start = 0;
    while start < bytes.len() && items.len() < PARAMS_MAX {
        let end = bytes[start..].iter().position(|b| *b == b'&').map_or(bytes.len(), |at| start + at);
        let equals = bytes[start..end].iter().position(|b| *b == b'=').map(|at| start + at);
        if end > start && equals != Some(start) {
            let name_end = equals.unwrap_or(end);
            let value_start = equals.map_or(end, |at| at + 1);
            items.push(Item {
                in_form,
                name: (start as u32, name_end as u32),
                value: (value_start as u32, end as u32),
            });
        }
        start = end + 1;
    }
}

fn name_is(raw: &[u8], name: &str) -> bool {
    raw == name.as_bytes() || (raw.iter().any(|b| matches!(b, b'%' | b'+')) && decode(raw) == name)
}

/// Undoes urlencoding: `+` is a blank, `%HH` a byte; the bytes are read as UTF-8.
pub(crate) fn decode(raw: &[u8]) -> Cow<'_, str> {
    if !raw.iter().any(|b| matches!(b, b'%' | b'+')) {
        return String::from_utf8_lossy(raw);
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |i: usize| raw.get(i).and_then(|b| (*b as char).to_digit(16));
                match (digit(at + 1), digit(at + 2)) {
                    (Some(high), Some(low)) => {
                        bytes.push((high * 16 + low) as u8);
                        at += 2;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            byte => bytes.push(byte),
        }
        at += 1;
    }
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(query: &str, form: &str) -> Params {
        Params::new(Some(format!("/x?{query}").parse().unwrap()), Bytes::from(form.to_owned()))
    }

    #[test]
    fn the_query_comes_first_and_values_join() {
        let p = params("a=1&b=x%20y", "a=2&a=3&c&=4&%64=5");
        assert_eq!(p.first("a").unwrap(), "1");
        assert_eq!(p.joined("a").unwrap(), "1,2,3");
        assert_eq!(p.first("b").unwrap(), "x y");
        assert_eq!(p.first("c").unwrap(), "");
        assert_eq!(p.first("d").unwrap(), "5");
        assert_eq!(p.first(""), None);
        assert_eq!(p.first("e"), None);
    }

    #[test]
    fn odd_escapes_stay_and_odd_bytes_are_replaced() {
        let p = params("a=%4&b=%zz&c=100%", "d=%ff%fe&e=%E4%B8%AD");
        assert_eq!(p.first("a").unwrap(), "%4");
        assert_eq!(p.first("b").unwrap(), "%zz");
        assert_eq!(p.first("c").unwrap(), "100%");
        assert_eq!(p.first("d").unwrap(), "\u{fffd}\u{fffd}");
        assert_eq!(p.first("e").unwrap(), "中");
    }

    proptest! {
        #[test]
        fn any_form_is_read_without_panic(form in proptest::collection::vec(any::<u8>(), 0..200)) {
            let p = Params::new(None, Bytes::from(form));
            for (name, value) in p.iter() {
                let _ = (p.joined(&name), value);
            }
        }

        #[test]
        fn what_was_encoded_is_read_back(name in "[a-zA-Z]{1,8}", value in "\\PC{0,30}") {
            let encoded: String =
                percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC).collect();
            let p = Params::new(None, Bytes::from(format!("x=1&{name}={encoded}")));
            prop_assume!(name != "x");
            prop_assert_eq!(p.first(&name).unwrap(), value);
        }
    }
}
