import { render } from 'preact';
import { App } from './app';
import { startRouter } from './router';
import { startHealth } from './state/health';
import { startSettings } from './state/settings';
import './styles/base.css';
import './styles/parts.css';

startSettings();
startRouter();
startHealth();
const root = document.getElementById('app');
if (root) render(<App />, root);
