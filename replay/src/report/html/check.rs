//! What tests ask of every page.

/// Every element is closed where it was opened, with attributes in quotes; returns the names in order.
pub(crate) fn elements(page: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some((text, more)) = rest.split_once('<') {
        assert!(!text.contains('>') || open.last().is_some_and(|name| name == "style"), "{text}");
        let (tag, more) = more.split_once('>').unwrap();
        rest = more;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if !tag.ends_with('/') {
            open.push(name.clone());
        }
        if name == "script" {
            rest = &rest[rest.find("</script>").unwrap()..];
        }
        all.push(name);
    }
    assert_eq!(open, Vec::<String>::new());
    all
}

/// A page is one file, small, and needs nothing else.
pub(crate) fn alone(page: &str) {
    assert!(page.len() < 1 << 20, "{}", page.len());
    for outside in ["http:", "https:", "src=", "url(", "@import", "<link", "NaN", "inf\""] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(elements(page).iter().filter(|name| *name == "script").count(), 1);
}

/// What can be read in a page, a line per block; of a picture its title and its description.
pub(crate) fn words(page: &str) -> String {
    let body = page.split_once("<main>").unwrap().1.split_once("</main>").unwrap().0;
    let (mut text, mut in_picture, mut is_said) = (String::new(), false, false);
    for part in body.split('<').skip(1) {
        let (tag, words) = part.split_once('>').unwrap();
        let name = tag.split([' ', '/']).next().unwrap();
        match name {
            "svg" => in_picture = true,
            "title" | "desc" => is_said = true,
            "" if tag == "/svg" => in_picture = false,
            "" if tag == "/title" || tag == "/desc" => is_said = false,
            "h1" | "h2" | "h3" => text += "\n## ",
            "td" | "dd" => text += "| ",
            "br" => text += " / ",
            "li" => text += "- ",
            _ => {}
        }
        if !in_picture || is_said {
            text += words.trim_end_matches('\n');
        }
        if ["/p", "/li", "/tr", "/dd", "/h1", "/h2", "/h3", "/figcaption", "/title", "/desc"]
            .contains(&tag)
        {
            text += "\n";
        }
    }
    text
}
