// Runs before the page is drawn, so that a theme that was chosen does not flash in late.
(() => {
  try {
    const theme = localStorage.getItem("anabranch.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is forbidden: the system's theme it is
  }
})();
