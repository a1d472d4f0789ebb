import other from '../json-two-spaces/capacitor.config.json';
export default other;
