"""What people do in a web browser, step by step: Debian's Chromium, driven by Playwright, before an unmodified dashboard."""
