//! An XML element tree: read, asked, edited and written with its order kept.
//!
//! Text is borrowed from the source where it can be, since a thousand domains are read at once. Writing refuses what
//! would not come back as it went in: characters XML cannot hold, and line breaks that readers normalise.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};

use crate::base::{Fault, FaultKind};

/// Text that is no XML, or that cannot be written as XML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct XmlError(String);

impl From<XmlError> for Fault {
    fn from(error: XmlError) -> Self {
        Fault::new(FaultKind::Invalid, error.0)
    }
}

/// An element with its attributes and what is inside, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its name, prefix included.
    pub name: Cow<'a, str>,
    /// Its attributes.
    pub attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What is inside.
    pub nodes: Vec<Node<'a>>,
}

/// Something inside an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// Another element.
    Element(Element<'a>),
    /// Text; white space between elements is not kept.
    Text(Cow<'a, str>),
    /// A comment.
    Comment(Cow<'a, str>),
}

impl<'a> Element<'a> {
    /// An empty element.
    pub fn new(name: impl Into<Cow<'a, str>>) -> Self {
        Self { name: name.into(), attributes: Vec::new(), nodes: Vec::new() }
    }

    /// The same with an attribute.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'a, str>>, value: impl ToString) -> Self {
        self.attributes.push((name.into(), Cow::Owned(value.to_string())));
        self
    }

    /// The same with an element inside.
    #[must_use]
    pub fn child(mut self, child: Element<'a>) -> Self {
        self.nodes.push(Node::Element(child));
        self
    }

    /// The same with elements inside.
    #[must_use]
    pub fn children_from(mut self, children: impl IntoIterator<Item = Element<'a>>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    /// The same with text inside.
    #[must_use]
    pub fn text_inside(mut self, text: impl ToString) -> Self {
        self.nodes.push(Node::Text(Cow::Owned(text.to_string())));
        self
    }

    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    /// The attribute of that name as a number or another type.
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.trim().parse().ok()
    }

    /// Sets an attribute, in its place when it is there.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        let value = Cow::Owned(value.to_string());
        match self.attributes.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((Cow::Owned(name.to_owned()), value)),
        }
    }

    /// Takes an attribute away.
    pub fn unset(&mut self, name: &str) {
        self.attributes.retain(|(n, _)| n != name);
    }

    /// The elements inside.
    pub fn children(&self) -> impl Iterator<Item = &Element<'a>> {
        self.nodes.iter().filter_map(|n| if let Node::Element(e) = n { Some(e) } else { None })
    }

    /// The elements inside, to change.
    pub fn children_mut(&mut self) -> impl Iterator<Item = &mut Element<'a>> {
        self.nodes.iter_mut().filter_map(|n| if let Node::Element(e) = n { Some(e) } else { None })
    }

    /// The elements inside of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Element<'a>> {
        self.children().filter(move |e| e.name == name)
    }

    /// The first element inside of that name.
    pub fn first(&self, name: &str) -> Option<&Element<'a>> {
        self.children().find(|e| e.name == name)
    }

    /// The first element inside of that name, to change.
    pub fn first_mut(&mut self, name: &str) -> Option<&mut Element<'a>> {
        self.children_mut().find(|e| e.name == name)
    }

    /// The element at a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Element<'a>> {
        path.iter().try_fold(self, |e, name| e.first(name))
    }

    /// The attribute of the element at a path of names.
    pub fn attribute(&self, path: &[&str], name: &str) -> Option<&str> {
        self.at(path)?.get(name)
    }

    /// The text of the element at a path of names; `None` when there is no such element.
    pub fn text_at(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        self.at(path).map(Element::text)
    }

    /// All text directly inside.
    pub fn text(&self) -> Cow<'_, str> {
        let mut texts = self.nodes.iter().filter_map(|n| if let Node::Text(t) = n { Some(&**t) } else { None });
        match (texts.next(), texts.next()) {
            (None, _) => Cow::Borrowed(""),
            (Some(one), None) => Cow::Borrowed(one),
            (Some(one), Some(two)) => Cow::Owned([one, two].into_iter().chain(texts).collect()),
        }
    }

    /// The first element of that name, made at the end when there is none.
    pub fn entry(&mut self, name: &str) -> &mut Element<'a> {
        let at = self.nodes.iter().position(|n| matches!(n, Node::Element(e) if e.name == name));
        let at = at.unwrap_or_else(|| {
            self.nodes.push(Node::Element(Element::new(name.to_owned())));
            self.nodes.len() - 1
        });
        match &mut self.nodes[at] {
            Node::Element(e) => e,
            _ => unreachable!("the position is that of an element"),
        }
    }

    /// Adds an element at the end.
    pub fn push(&mut self, child: Element<'a>) {
        self.nodes.push(Node::Element(child));
    }

    /// Takes away every element inside that is as `which` says.
    pub fn remove(&mut self, which: impl Fn(&Element<'a>) -> bool) {
        self.nodes.retain(|n| !matches!(n, Node::Element(e) if which(e)));
    }

    /// Takes away every element inside of that name.
    pub fn remove_all(&mut self, name: &str) {
        self.remove(|e| e.name == name);
    }

    /// Puts `children` where the first element of that name was (else at the end), instead of all of that name.
    pub fn replace_all(&mut self, name: &str, children: impl IntoIterator<Item = Element<'a>>) {
        let at = self.nodes.iter().position(|n| matches!(n, Node::Element(e) if e.name == name));
        let at = at.unwrap_or(self.nodes.len());
        self.remove_all(name);
        let at = at.min(self.nodes.len());
        self.nodes.splice(at..at, children.into_iter().map(Node::Element));
    }

    /// The same with nothing borrowed.
    pub fn into_owned(self) -> Element<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Element {
            name: own(self.name),
            attributes: self.attributes.into_iter().map(|(n, v)| (own(n), own(v))).collect(),
            nodes: self
                .nodes
                .into_iter()
                .map(|node| match node {
                    Node::Element(e) => Node::Element(e.into_owned()),
                    Node::Text(t) => Node::Text(own(t)),
                    Node::Comment(t) => Node::Comment(own(t)),
                })
                .collect(),
        }
    }

    /// Reads a document's root element.
    pub fn read(source: &'a str) -> Result<Element<'a>, XmlError> {
        let mut reader = Reader::from_str(source);
        let config = reader.config_mut();
        config.check_end_names = true;
        config.expand_empty_elements = false;
        let mut open: Vec<Element<'a>> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|e| XmlError(format!("malformed XML: {e}")))?;
            let done = match event {
                Event::Start(start) => {
                    open.push(opened(source, &start)?);
                    if open.len() > 64 {
                        return Err(XmlError("malformed XML: nested too deeply".into()));
                    }
                    continue;
                }
                Event::Empty(start) => opened(source, &start)?,
                Event::End(_) => match open.pop() {
                    Some(mut done) => {
                        trim(&mut done);
                        done
                    }
                    None => return Err(XmlError("malformed XML: an end without a start".into())),
                },
                Event::Eof => return Err(XmlError("malformed XML: it ends too early".into())),
                other => {
                    if let Some(parent) = open.last_mut() {
                        inside(parent, other)?;
                    }
                    continue;
                }
            };
            match open.last_mut() {
                Some(parent) => parent.nodes.push(Node::Element(done)),
                None => return Ok(done),
            }
        }
    }

    /// The element as text; see the module for what is refused.
    pub fn write(&self) -> Result<String, XmlError> {
        let mut writer = Writer::new(Vec::with_capacity(4096));
        write(self, &mut writer)?;
        String::from_utf8(writer.into_inner()).map_err(|e| XmlError(format!("cannot write XML: {e}")))
    }
}

fn opened<'a>(source: &'a str, start: &BytesStart<'_>) -> Result<Element<'a>, XmlError> {
    let bad = |e: &dyn std::fmt::Display| XmlError(format!("malformed XML: {e}"));
    let mut element = Element::new(borrow(source, start.name().as_ref()));
    let mut attributes = start.attributes();
    attributes.with_checks(false);
    for attribute in attributes {
        let attribute = attribute.map_err(|e| bad(&e))?;
        let value = match attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|e| bad(&e))? {
            Cow::Borrowed(value) => borrow(source, value),
            Cow::Owned(value) => Cow::Owned(value),
        };
        element.attributes.push((borrow(source, attribute.key.as_ref()), value));
    }
    Ok(element)
}

/// The same text as a part of the source it was cut from, so that it need not be copied.
fn borrow<'a>(source: &'a str, part: &str) -> Cow<'a, str> {
    let offset = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize);
    match offset.and_then(|start| source.get(start..start.checked_add(part.len())?)) {
        Some(same) => Cow::Borrowed(same),
        None => Cow::Owned(part.to_owned()),
    }
}

/// Puts what is neither the start nor the end of an element into the one that is open.
fn inside<'a>(parent: &mut Element<'a>, event: Event<'a>) -> Result<(), XmlError> {
    let text = match event {
        Event::Text(text) => text.xml10_content(),
        Event::CData(data) => data.xml10_content(),
        Event::GeneralRef(reference) => {
            let name = reference.xml10_content();
            let character = reference.resolve_char_ref().map_err(|e| XmlError(format!("malformed XML: {e}")))?;
            match character.map(String::from).or_else(|| predefined(&name).map(str::to_owned)) {
                Some(text) => text.into(),
                None => return Err(XmlError(format!("malformed XML: unknown entity {name:?}"))),
            }
        }
        Event::Comment(comment) => {
            parent.nodes.push(Node::Comment(comment.xml10_content()));
            return Ok(());
        }
        _ => return Ok(()),
    };
    if let Some(Node::Text(before)) = parent.nodes.last_mut() {
        before.to_mut().push_str(&text);
    } else {
        parent.nodes.push(Node::Text(text));
    }
    Ok(())
}

fn predefined(entity: &str) -> Option<&'static str> {
    match entity {
        "lt" => Some("<"),
        "gt" => Some(">"),
        "amp" => Some("&"),
        "quot" => Some("\""),
        "apos" => Some("'"),
        _ => None,
    }
}

/// Drops the white space between elements.
fn trim(element: &mut Element<'_>) {
    let has_elements = element.nodes.iter().any(|n| !matches!(n, Node::Text(_)));
    if has_elements {
        element.nodes.retain(|n| !matches!(n, Node::Text(t) if t.trim().is_empty()));
    }
}

fn write(element: &Element<'_>, writer: &mut Writer<Vec<u8>>) -> Result<(), XmlError> {
    let failed = |e: std::io::Error| XmlError(format!("cannot write XML: {e}"));
    let mut start = BytesStart::new(&*element.name);
    for (name, value) in &element.attributes {
        check(value, &['\n', '\t'])?;
        start.push_attribute((&**name, &**value));
    }
    if element.nodes.is_empty() {
        return writer.write_event(Event::Empty(start)).map_err(failed);
    }
    writer.write_event(Event::Start(start)).map_err(failed)?;
    for node in &element.nodes {
        match node {
            Node::Element(child) => write(child, writer)?,
            Node::Text(text) => {
                check(text, &[])?;
                writer.write_event(Event::Text(BytesText::new(text))).map_err(failed)?;
            }
            Node::Comment(text) => {
                writer.write_event(Event::Comment(BytesText::from_escaped(&**text))).map_err(failed)?;
            }
        }
    }
    writer.write_event(Event::End(BytesEnd::new(&*element.name))).map_err(failed)
}

/// Refuses characters that would not survive.
fn check(text: &str, also: &[char]) -> Result<(), XmlError> {
    let bad = |c: char| {
        (c.is_ascii_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}') || also.contains(&c)
    };
    match text.chars().find(|c| bad(*c)) {
        None => Ok(()),
        Some(c) => {
            let shown: String = text.chars().take(60).collect();
            Err(XmlError(format!("{shown:?} has the character {c:?}, which libvirt cannot keep there; take it out")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let source =
            "<a x='1' y=\"&lt;&amp;&quot;\">\n <b/>\n <!-- why -->\n <c>text &amp; <![CDATA[<raw>]]> &#65;</c>\n</a>";
        let tree = Element::read(source).unwrap();
        assert_eq!(tree.get("y"), Some("<&\""));
        assert_eq!(tree.text_at(&["c"]).unwrap(), "text & <raw> A");
        let written = tree.write().unwrap();
        assert_eq!(Element::read(&written).unwrap(), tree, "{written}");
    }

    #[test]
    fn text_survives_or_is_refused() {
        for text in ["", "plain", " padded ", "a\nb\tc", "<&>\"'", "]]>", "é€𝄞", "\u{7f}", "a\rb", "\u{0}", "\u{ffff}"]
        {
            let tree = Element::new("a").text_inside(text);
            match tree.write() {
                Ok(written) => assert_eq!(Element::read(&written).unwrap().text(), text, "{written}"),
                Err(error) => assert!(error.to_string().contains("take it out"), "{error}"),
            }
            let tree = Element::new("a").with("b", text);
            match tree.write() {
                Ok(written) => assert_eq!(Element::read(&written).unwrap().get("b"), Some(text), "{written}"),
                Err(error) => assert!(error.to_string().contains("take it out"), "{error}"),
            }
        }
        assert!(Element::new("a").text_inside("a\rb").write().is_err());
        assert!(Element::new("a").with("b", "a\nb").write().is_err());
    }

    #[test]
    fn malformed_text_is_an_error() {
        for bad in ["", "<a>", "<a></b>", "</a>", "text", "<a b=c/>", "<a>&nope;</a>", &"<a>".repeat(100)] {
            assert!(Element::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn edits_keep_the_order() {
        let mut tree = Element::read("<a><b n='1'/><c/><b n='2'/><d/></a>").unwrap();
        tree.replace_all("b", [Element::new("b").with("n", 3)]);
        tree.entry("c").set("x", 1);
        tree.entry("e").set("y", 2);
        tree.remove_all("d");
        assert_eq!(tree, Element::read("<a><b n='3'/><c x='1'/><e y='2'/></a>").unwrap());
    }
}
