//! The console: a page and its files, which are part of the binary. It is a client of the API like any other, and knows nothing
//! that the API does not tell.

use std::future::ready;
use std::sync::LazyLock;

use actix_web::http::header::{self, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse};
use twox_hash::XxHash3_128;

use super::map::read;

/// A page that is told what it may do: load its own files and ask its own server, and nothing else. What a program puts into it
/// is never taken for markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the console.
#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

macro_rules! files {
    ($($path:literal, $kind:ident, $file:literal;)*) => {
        &[$(File { path: $path, kind: $kind, content: include_str!(concat!("console/", $file)) },)*]
    };
}

const FILES: &[File] = files! {
    "/", HTML, "index.html";
    "/console/style.css", CSS, "style.css";
    "/console/parts.css", CSS, "parts.css";
    "/console/icon.svg", SVG, "icon.svg";
    "/console/theme.js", JS, "theme.js";
    "/console/app.js", JS, "app.js";
    "/console/api.js", JS, "api.js";
    "/console/chart.js", JS, "chart.js";
    "/console/charts.js", JS, "charts.js";
    "/console/dialogs.js", JS, "dialogs.js";
    "/console/dom.js", JS, "dom.js";
    "/console/events.js", JS, "events.js";
    "/console/format.js", JS, "format.js";
    "/console/orders.js", JS, "orders.js";
    "/console/overview.js", JS, "overview.js";
    "/console/partitions.js", JS, "partitions.js";
    "/console/route.js", JS, "route.js";
    "/console/states.js", JS, "states.js";
    "/console/store.js", JS, "store.js";
    "/console/stream.js", JS, "stream.js";
    "/console/target.js", JS, "target.js";
};

/// Where the console's files are.
pub(super) fn resources(config: &mut ServiceConfig) {
    for file in FILES {
        config.service(read(file.path, move |request: HttpRequest| ready(file.answer(&request))));
    }
}

/// Whether a path is that of a file of the console, spelled as it is. These are open: what they show comes by the API.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}

impl File {
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let tag = EntityTag::new_strong(TAG.clone());
        let known = match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
            Err(_) => false,
        };
        let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer
            .insert_header(ETag(tag))
            // asked for each time, and sent again only when this is another version
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header(("cross-origin-opener-policy", "same-origin"))
            .insert_header(("cross-origin-resource-policy", "same-origin"));
        if known {
            return answer.finish();
        }
        answer.content_type(self.kind).body(self.content)
    }
}

/// One for all files, which belong together: any that changes changes it.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|file| file.content).collect();
    format!("{:032x}", XxHash3_128::oneshot(all.as_bytes()))
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;

    use super::*;

    /// What a file asks for: what it imports, and what its markup links to.
    fn wanted(file: &File) -> BTreeSet<String> {
        let quoted = Regex::new(r##"(?m)(?:^import .*? from |(?:src|href)=)"([^"#][^"]*)""##).unwrap();
        let place = |name: &str| match name.strip_prefix("./") {
            Some(beside) => format!("/console/{beside}"),
            None => format!("/{name}"),
        };
        quoted.captures_iter(file.content).map(|found| place(&found[1])).collect()
    }

    #[test]
    fn every_file_is_there_that_another_asks_for_and_none_that_nobody_does() {
        let asked: BTreeSet<String> = FILES.iter().flat_map(wanted).chain(["/".to_owned()]).collect();
        let there: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(asked, there);
    }

    #[test]
    fn nothing_is_asked_of_others_and_nothing_is_put_in_as_markup() {
        let foreign = Regex::new(
            r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|style=|\bon\w+=\x22",
        )
        .unwrap();
        let namespaces = Regex::new(r"http://www\.w3\.org/[a-z0-9/]+").unwrap();
        for file in FILES {
            let text = namespaces.replace_all(file.content, "");
            let found: Vec<&str> = foreign.find_iter(&text).map(|hit| hit.as_str()).collect();
            assert!(found.is_empty(), "{}: {found:?}", file.path);
            assert!(file.content.lines().count() <= 500, "{}: too long", file.path);
        }
    }
}
