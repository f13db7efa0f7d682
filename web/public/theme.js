// Before the first paint, so that a chosen theme does not flash in the other one's colours.
try {
  const theme = localStorage.getItem('chronolith.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage that may not be read is no reason to have no page.
}
