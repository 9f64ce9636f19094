//! nginx as the proxy that everything is compared with: proxy only, keep-alive upstream, no buffering.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::process::{Process, Start};

/// What to do when nginx is missing.
pub(super) const INSTALL: &str = "nginx is not installed: no ratios. Install it (Debian, Ubuntu: apt-get install nginx; Fedora: dnf install \
     nginx; Alpine: apk add nginx) so that `nginx -v` works; it need not run as a service.";

/// Starts nginx on `port` in front of the mock, with room for `connections` in its one worker.
///
/// # Errors
/// When its files can not be written or it can not be started.
pub(super) fn start(
    folder: &Path,
    core: usize,
    port: u16,
    mock_port: u16,
    connections: usize,
) -> anyhow::Result<Process> {
    fs::create_dir_all(folder)?;
    let config = folder.join("nginx.conf");
    let text = config_text(folder.to_str().context("a path that is not text")?, port, mock_port, connections);
    fs::write(&config, text)?;
    let command = vec!["nginx".into(), "-p".into(), folder.into(), "-c".into(), config.into()];
    Process::start(Start { core, command, environment: &[], log: folder.join("output.log") })
}

/// One process without a master: nothing is left behind when it is ended, and it is all that is measured.
fn config_text(folder: &str, port: u16, mock_port: u16, connections: usize) -> String {
    format!(
        r#"daemon off;
master_process off;
worker_processes 1;
pid "{folder}/nginx.pid";
error_log "{folder}/error.log" warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    tcp_nodelay on;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    client_body_buffer_size 64k;
    upstream mock {{
        server 127.0.0.1:{mock_port};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 3600s;
        }}
    }}
}}
"#
    )
}
