//! Colours, when they are wanted.

use owo_colors::{OwoColorize as _, Style};

/// Paints text, or leaves it plain.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// Paints when `on`.
    pub fn new(on: bool) -> Self {
        Self(on)
    }

    /// Whether it paints at all.
    pub fn on(self) -> bool {
        self.0
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.0 { text.style(style).to_string() } else { text.to_owned() }
    }

    /// What is added, or well.
    pub fn good(self, text: &str) -> String {
        self.with(Style::new().green(), text)
    }

    /// What changes, or deserves a look.
    pub fn warn(self, text: &str) -> String {
        self.with(Style::new().yellow(), text)
    }

    /// What goes away, or is wrong.
    pub fn bad(self, text: &str) -> String {
        self.with(Style::new().red(), text)
    }

    /// What matters.
    pub fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    /// What is beside the point.
    pub fn faint(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// Where something is taken apart.
    pub fn mark(self, text: &str) -> String {
        self.with(Style::new().cyan(), text)
    }
}
