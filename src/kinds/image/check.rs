//! Rules within one Image manifest.

use super::{DebianSource, ImageFormat, ImageSource, ImageSpec, ImageType};
use crate::base::Size;
use crate::kinds::Report;

/// The longest suite, component or package name that is taken.
const WORD_MAX: usize = 100;

/// Finds everything wrong with one spec.
pub fn check(spec: &ImageSpec, report: &mut Report<'_>) {
    let ImageSpec { kind, format: _, source, min_size } = spec;
    check_format(spec, report);
    let ImageSource { url, file, sha256, debian } = source;
    let given: Vec<&str> = [("url", url.is_some()), ("file", file.is_some()), ("debian", debian.is_some())]
        .into_iter()
        .filter_map(|(word, is)| is.then_some(word))
        .collect();
    if given.len() != 1 {
        let found = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
        report.error(
            "image/one-source",
            "source",
            format!("an image comes from exactly one of url, file and debian; here is {found}"),
            "keep one of them",
        );
    }
    if let Some(url) = url {
        check_url(url, report);
        if sha256.is_none() {
            report.error(
                "image/sha256-missing",
                "source",
                "a download has no sha256, so what arrives could be anything",
                "add sha256: the 64 digits that the image's publisher names, or that sha256sum prints",
            );
        }
    }
    if let Some(file) = file {
        check_file(file, report);
    }
    if let Some(sum) = sha256 {
        check_sum(sum, debian.is_some(), report);
    }
    if let Some(debian) = debian {
        check_debian(debian, *kind, spec.format(), report);
    }
    if *min_size == Some(Size(0)) {
        report.error("image/min-size", "minSize", "minSize is 0", "leave minSize out, or give a size such as 4Gi");
    }
}

fn check_format(spec: &ImageSpec, report: &mut Report<'_>) {
    use ImageFormat as F;
    let allowed: &[F] = match spec.kind {
        ImageType::Disk => &[F::Qcow2, F::Raw, F::Vmdk],
        ImageType::Iso => &[F::Raw],
        ImageType::Rootfs => &[F::Tar],
    };
    let format = spec.format();
    if !allowed.contains(&format) {
        let words = allowed.iter().map(|f| f.word()).collect::<Vec<_>>().join(", ");
        report.error(
            "image/format",
            "format",
            format!("an image of type {} cannot be of format {format}", spec.kind),
            format!("for type {} write {words}, or leave format out", spec.kind),
        );
    }
}

fn check_url(text: &str, report: &mut Report<'_>) {
    let mut wrong = |message: String, help: &str| report.error("image/url", "source.url", message, help);
    match url::Url::parse(text) {
        Err(error) => wrong(format!("{text:?} is no URL: {error}"), "write https://HOST/PATH"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            wrong(format!("images are not fetched over {:?}", url.scheme()), "use http or https, or source.file");
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => wrong(
            "the URL holds a user name or password, which would show in plans and logs".into(),
            "serve the image without a login (its sha256 protects it), or fetch it yourself and use source.file",
        ),
        Ok(_) => {}
    }
}

fn check_file(file: &str, report: &mut Report<'_>) {
    let path = std::path::Path::new(file);
    let climbs = path.components().any(|c| matches!(c, std::path::Component::ParentDir));
    if !path.is_absolute() || climbs || file.contains(['\0', '\n']) {
        report.error(
            "image/file",
            "source.file",
            format!("{file:?} is not an absolute path without '..'"),
            "write the file's whole path on the node, such as /srv/images/debian-12.qcow2",
        );
    }
}

fn check_sum(sum: &str, built: bool, report: &mut Report<'_>) {
    if built {
        report.error(
            "image/sha256",
            "source.sha256",
            "an image built from packages has no sha256 known beforehand",
            "leave sha256 out",
        );
    } else if sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()) {
        report.error(
            "image/sha256",
            "source.sha256",
            format!("{:?} is no SHA-256: it has 64 hexadecimal digits", sum.chars().take(80).collect::<String>()),
            "copy it from the image's publisher, or from what sha256sum prints",
        );
    }
}

fn check_debian(debian: &DebianSource, kind: ImageType, format: ImageFormat, report: &mut Report<'_>) {
    let DebianSource { suite, packages, variant: _, components, size } = debian;
    if kind == ImageType::Iso {
        report.error(
            "image/debian-iso",
            "source.debian",
            "an iso cannot be built from Debian packages",
            "build a disk or a rootfs, or fetch the iso with source.url",
        );
    }
    if kind == ImageType::Disk && !matches!(format, ImageFormat::Qcow2 | ImageFormat::Raw) {
        report.error(
            "image/format",
            "format",
            format!("a disk is not built in format {format}"),
            "write qcow2 or raw, or leave format out",
        );
    }
    if let Some(suite) = suite
        && !is_word(suite, "-./_")
    {
        word_error("suite", "source.debian.suite", suite, report);
    }
    for (index, package) in packages.iter().flatten().enumerate() {
        if !is_package(package) {
            word_error("package", &format!("source.debian.packages.{index}"), package, report);
        }
    }
    for (index, component) in components.iter().flatten().enumerate() {
        if !is_word(component, "-./_") {
            word_error("component", &format!("source.debian.components.{index}"), component, report);
        }
    }
    check_debian_size(*size, kind, report);
}

fn check_debian_size(size: Option<Size>, kind: ImageType, report: &mut Report<'_>) {
    match size {
        Some(_) if kind != ImageType::Disk => report.error(
            "image/debian-size",
            "source.debian.size",
            format!("a {kind} has no disk size"),
            "leave size out; a container's own size is its rootfs.size",
        ),
        Some(size) if size < Size::mib(512) || size > Size::gib(2048) => report.error(
            "image/debian-size",
            "source.debian.size",
            format!("a disk of {size} cannot hold a Debian system, or is beyond reason"),
            "give between 512Mi and 2Ti; 2Gi is the default, and guests grow it",
        ),
        _ => {}
    }
}

fn word_error(what: &str, path: &str, text: &str, report: &mut Report<'_>) {
    let shown: String = text.chars().take(80).collect();
    report.error(
        "image/debian-name",
        path,
        format!("{shown:?} cannot be the name of a Debian {what}"),
        "use lower-case letters, digits and the signs Debian allows, starting with a letter or digit",
    );
}

/// Whether `text` is letters, digits and `signs`, and starts with a letter or digit, so that it is never an option.
fn is_word(text: &str, signs: &str) -> bool {
    text.len() <= WORD_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
        && !text.contains("..")
}

/// Whether `text` can be a package name by Debian Policy 5.6.1, with an architecture at most.
fn is_package(text: &str) -> bool {
    let (name, arch) = text.split_once(':').unwrap_or((text, "any"));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (2..=WORD_MAX).contains(&name.len())
        && name.starts_with(plain)
        // A sign at the end would tell apt to remove the package or to install it by another rule.
        && name.ends_with(|c| plain(c) || c == '+' && name.ends_with("++"))
        && name.chars().all(|c| plain(c) || "+-.".contains(c))
        && !arch.is_empty()
        && arch.chars().all(|c| plain(c) || c == '-')
        && !arch.starts_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn codes(spec: Value) -> Vec<(&'static str, String)> {
        let spec: ImageSpec = serde_json::from_value(spec).unwrap();
        let mut found = Vec::new();
        check(&spec, &mut Report::new(&|_| None, &mut found));
        found.into_iter().map(|d| (d.code, d.message)).collect()
    }

    fn only(spec: Value) -> &'static str {
        let found = codes(spec);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].0
    }

    const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn good_images_pass() {
        for spec in [
            json!({"type": "disk", "source": {"url": "https://x.org/a.qcow2", "sha256": SUM}}),
            json!({"type": "iso", "format": "raw", "source": {"file": "/srv/a.iso"}}),
            json!({"type": "rootfs", "source": {"debian": {"packages": ["g++", "libc6", "python3.11", "libc6:amd64"]}}}),
            json!({"type": "disk", "minSize": "4Gi", "source": {"debian": {"suite": "bookworm-backports"}}}),
        ] {
            assert_eq!(codes(spec.clone()), [], "{spec}");
        }
    }

    #[test]
    fn every_rule_has_its_code() {
        let disk = |source: Value| json!({"type": "disk", "source": source});
        assert_eq!(only(disk(json!({}))), "image/one-source");
        assert_eq!(only(disk(json!({"file": "/a", "debian": {}}))), "image/one-source");
        assert_eq!(only(disk(json!({"url": "https://x.org/a"}))), "image/sha256-missing");
        assert_eq!(only(disk(json!({"url": "ftp://x.org/a", "sha256": SUM}))), "image/url");
        assert_eq!(only(disk(json!({"url": "file:///etc/passwd", "sha256": SUM}))), "image/url");
        assert_eq!(only(disk(json!({"url": "https://me:pw@x.org/a", "sha256": SUM}))), "image/url");
        assert_eq!(only(disk(json!({"url": "images/a", "sha256": SUM}))), "image/url");
        assert_eq!(only(disk(json!({"url": "https://x.org/a", "sha256": &SUM[1..]}))), "image/sha256");
        assert_eq!(only(disk(json!({"file": "a.qcow2"}))), "image/file");
        assert_eq!(only(disk(json!({"file": "/srv/../etc/shadow"}))), "image/file");
        assert_eq!(only(disk(json!({"debian": {}, "sha256": SUM}))), "image/sha256");
        assert_eq!(only(disk(json!({"debian": {"suite": "--help"}}))), "image/debian-name");
        assert_eq!(only(disk(json!({"debian": {"size": "1Mi"}}))), "image/debian-size");
        assert_eq!(only(json!({"type": "disk", "format": "tar", "source": {"file": "/a"}})), "image/format");
        assert_eq!(only(json!({"type": "iso", "format": "qcow2", "source": {"file": "/a"}})), "image/format");
        assert_eq!(only(json!({"type": "iso", "source": {"debian": {}}})), "image/debian-iso");
        assert_eq!(only(json!({"type": "disk", "minSize": 0, "source": {"file": "/a"}})), "image/min-size");
    }

    #[test]
    fn package_names_carry_no_options_and_no_tricks() {
        for bad in [
            "-y",
            "--allow",
            "a b",
            "apt;reboot",
            "nginx-",
            "nginx+",
            "A",
            "x",
            "",
            "../x",
            "a\nb",
            "vim/sid",
            "?essential",
            "libc6:",
        ] {
            assert!(!is_package(bad), "{bad:?}");
        }
        for good in ["nginx", "g++", "libstdc++6", "python3.11", "0ad", "libc6:amd64"] {
            assert!(is_package(good), "{good:?}");
        }
    }
}
